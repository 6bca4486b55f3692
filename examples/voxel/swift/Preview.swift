import BowlineKit

/// Artificial layers and edits for previews: one layer on its way, and one refused.
func previewData() throws -> PreviewData {
    let data = PreviewData(hosts: 1, items: 0)
    let layers = [
        try PreviewRow("castle/roof", Layer(colour: .stone, name: "roof", voxels: 0), pending: true),
        try PreviewRow("castle/walls", Layer(colour: .grass, name: "walls", voxels: 320)),
        try PreviewRow(
            "castle/well", Layer(colour: .deepWater, name: "well", voxels: 8), refused: "there is no room for more"),
    ]
    try data.showTable(name: layersTable, rows: layers)
    try data.showLog(editsLog, [Edit(kind: .added, layer: "walls", to: nil, voxels: nil)])
    return data
}
