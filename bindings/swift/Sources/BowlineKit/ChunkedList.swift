/// A list that is cheap to copy and to change at either end, however long it is: it shares unchanged
/// chunks with its copies. A view keeps one while the library builds the next.
public struct ChunkedList<Element: Sendable>: RandomAccessCollection, Sendable {
    /// Elements of a chunk. Every chunk but the last is full.
    private static var chunk: Int { 128 }

    private var chunks: [ContiguousArray<Element>] = []
    /// Elements at the beginning of the first chunk that are no longer part of the list.
    private var skipped = 0
    /// Number of elements.
    public private(set) var count = 0

    /// An empty list.
    public init() {}

    /// A list of these elements.
    public init(_ elements: some Sequence<Element>) {
        for element in elements { append(element) }
    }

    /// Always 0.
    public var startIndex: Int { 0 }
    /// The number of elements.
    public var endIndex: Int { count }

    /// The element at a place, from 0.
    public subscript(position: Int) -> Element {
        get {
            precondition(position >= 0 && position < count, "outside of the list")
            let (chunk, place) = (position + skipped).quotientAndRemainder(dividingBy: Self.chunk)
            return chunks[chunk][place]
        }
        set {
            precondition(position >= 0 && position < count, "outside of the list")
            let (chunk, place) = (position + skipped).quotientAndRemainder(dividingBy: Self.chunk)
            chunks[chunk][place] = newValue
        }
    }

    /// Appends an element.
    public mutating func append(_ element: Element) {
        if (count + skipped) % Self.chunk == 0 {
            var chunk = ContiguousArray<Element>()
            chunk.reserveCapacity(Self.chunk)
            chunks.append(chunk)
        }
        chunks[chunks.count - 1].append(element)
        count += 1
    }

    /// Inserts elements: cheap at the end, else linear in the list.
    public mutating func insert(_ elements: some Collection<Element>, at place: Int) {
        precondition(place >= 0 && place <= count, "outside of the list")
        if place == count {
            for element in elements { append(element) }
            return
        }
        var all = Array(self)
        all.insert(contentsOf: elements, at: place)
        self = Self(all)
    }

    /// Removes elements: cheap at the beginning, else linear in the list.
    public mutating func remove(at place: Int, count removed: Int) {
        precondition(place >= 0 && removed >= 0 && place + removed <= count, "outside of the list")
        guard place == 0, removed < count else {
            var all = Array(self)
            all.removeSubrange(place..<place + removed)
            self = Self(all)
            return
        }
        count -= removed
        skipped += removed
        let (gone, rest) = skipped.quotientAndRemainder(dividingBy: Self.chunk)
        chunks.removeFirst(gone)
        skipped = rest
    }
}

extension ChunkedList: Equatable where Element: Equatable {
    /// Costs little for lists that share most of their elements, as a list and the one it was made of do.
    public static func == (left: Self, right: Self) -> Bool {
        guard left.count == right.count else { return false }
        guard left.skipped == right.skipped else { return left.elementsEqual(right) }
        // Arrays that share their storage are equal without a look at it.
        return zip(left.chunks, right.chunks).enumerated().allSatisfy { place, chunks in
            let from = place == 0 ? left.skipped : 0
            return from == 0 ? chunks.0 == chunks.1 : chunks.0.dropFirst(from) == chunks.1.dropFirst(from)
        }
    }
}
