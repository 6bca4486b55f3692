import Testing

@testable import BowlineKit

@Suite("A list that shares what did not change")
struct ChunkedListTests {
    @Test("does what an array does, whatever is done to it")
    func model() {
        var random = Steps(state: 7)
        var (list, array) = (ChunkedList<Int>(), [Int]())
        for step in 0..<4_000 {
            let place = Int(random.next() % UInt64(array.count + 1))
            switch random.next() % 8 {
            case 0:
                let few = [step, step + 1, step + 2]
                list.insert(few, at: place)
                array.insert(contentsOf: few, at: place)
            case 1:
                let count = min(array.count - place, 5)
                list.remove(at: place, count: count)
                array.removeSubrange(place..<place + count)
            case 2:
                let count = min(array.count, 2)
                list.remove(at: 0, count: count)
                array.removeFirst(count)
            case 3 where place < array.count:
                list[place] = step
                array[place] = step
            default:
                list.append(step)
                array.append(step)
            }
            if step % 97 == 0 { #expect(Array(list) == array) }
        }
        #expect(Array(list) == array)
        #expect(list.count == array.count)
        #expect(list.last == array.last)
    }

    @Test("lists are equal when their elements are, however they came about")
    func equality() {
        let list = ChunkedList(0..<1_000)
        #expect(list == ChunkedList(0..<1_000))
        var shorter = list
        shorter.remove(at: 0, count: 130)
        #expect(shorter != list)
        #expect(shorter == ChunkedList(130..<1_000))
        // The same place in a chunk, and other elements before it.
        var other = ChunkedList(Array(repeating: -1, count: 130) + Array(130..<1_000))
        other.remove(at: 0, count: 130)
        #expect(shorter == other)
        for place in [0, 500, 869] {
            var changed = shorter
            changed[place] = -2
            #expect(changed != shorter)
            #expect(changed != other)
        }
        #expect(ChunkedList<Int>() == ChunkedList<Int>())
    }

    @Test("a copy stays what it was")
    func copies() {
        var list = ChunkedList(0..<300)
        let before = list
        list.append(300)
        list[0] = -1
        list.remove(at: 0, count: 200)
        #expect(Array(before) == Array(0..<300))
        #expect(Array(list) == Array(200...300))
    }
}

/// Numbers that look random and are the same every time.
private struct Steps: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state >> 33
    }
}
