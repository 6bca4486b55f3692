import BowlineFFI

extension PreviewRow {
    /// A row with a value of your own, as the service's.
    ///
    /// - Throws: `EncodingError` if it cannot be JSON.
    public init(_ key: String, _ value: some Encodable, pending: Bool = false, refused: String? = nil) throws {
        self.init(key: key, json: try encoded(value), pending: pending, refused: refused)
    }
}

extension PreviewData {
    /// The artificial hosts, for previews and tests.
    public var hosts: Snapshots<HostsSnapshot> {
        Snapshots(.empty, apply: replaceHosts) { receive in
            try self.subscribeHosts(listener: HostsProxy(receive))
        }
    }

    /// The artificial timeline, for previews and tests.
    public var timeline: Snapshots<Timeline> {
        Snapshots(Timeline(), apply: { try $0.apply($1) }) { receive in
            try self.subscribeTimeline(listener: TimelineProxy(receive))
        }
    }

    /// The screen of the artificial timeline's agent, in the moment of `showScreen`.
    public func screen(on serverId: String = "srv", of agentId: String = "agt") -> Snapshots<AgentScreen> {
        Snapshots(AgentScreen(serverId: serverId), apply: { try $0.apply($1) }) { receive in
            try self.subscribeScreen(serverId: serverId, agentId: agentId, listener: ScreenProxy(receive))
        }
    }

    /// Rows of an artificial table, from `showTable`: for `TableStore(preview.table("…", as: …))`.
    public func table<Value: Decodable & Sendable>(
        _ name: String, as _: Value.Type = Value.self
    ) -> Snapshots<LiveTable<Value>> {
        Snapshots(LiveTable(), apply: { try $0.apply($1, decode: decoded) }) { receive in
            try self.subscribeTable(name: name, listener: TableProxy(receive))
        }
    }

    /// Items of an artificial log, from `showLog`: for `LogStore(preview.log("…", as: …))`.
    public func log<Value: Decodable & Sendable>(
        _ name: String, as _: Value.Type = Value.self
    ) -> Snapshots<LiveLog<Value>> {
        let reader = ItemReader<Value>(decode: decoded)
        return Snapshots(LiveLog(), apply: { try $0.apply($1, reader: reader) }) { receive in
            try self.subscribeLog(name: name, listener: ItemsProxy(receive))
        }
    }

    /// Shows these values in an artificial log, oldest first.
    public func showLog(_ name: String, _ values: [some Encodable], state: TableState? = nil) throws {
        try showLog(name: name, items: values.map { try encoded($0) }, state: state)
    }
}

extension TableStore {
    /// Rows from anywhere: ``PreviewData/table(_:as:)`` in a preview. There is nothing more to load.
    public convenience init(_ tables: Snapshots<LiveTable<Value>>) {
        self.init(tables, of: nil)
    }
}

extension LogStore {
    /// Items from anywhere: ``PreviewData/log(_:as:)`` in a preview. There is nothing more to load.
    public convenience init(_ logs: Snapshots<LiveLog<Value>>) {
        self.init(logs, of: nil)
    }
}

extension AgentScreenStore {
    /// A screen from anywhere: ``PreviewData/screen(on:of:)`` in a preview. Its actions throw ``BowlineError/NotConnected``.
    public convenience init(_ screens: Snapshots<AgentScreen>) {
        self.init(nil, serverId: "srv", target: .agent(agentId: "agt"), screens: screens)
    }
}
