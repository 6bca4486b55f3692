import BowlineFFI
import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Handle of an observation, which ends when the handle is dropped.
public final class Observing: Sendable {
    private let ended = Flag()
    private let onEnd: @Sendable () -> Void

    /// - Parameter onEnd: Runs once.
    public init(_ onEnd: @escaping @Sendable () -> Void) {
        self.onEnd = onEnd
    }

    /// Ends it; no event is reported afterwards.
    public func end() {
        if ended.set() { onEnd() }
    }

    deinit {
        end()
    }
}

/// Receiver of platform events: the library, as a ``PlatformObserver`` sees it.
public protocol PlatformTarget: Sendable {
    /// Reports an event. From any thread; returns at once.
    func tell(_ event: PlatformEvent)

    /// The system is about to freeze the app: files are closed and their locks released when this returns. Until
    /// ``resume()`` the runtime sends nothing.
    func pause() async throws

    /// The app was not frozen after all, or is awake again.
    func resume() async throws
}

/// Reports the app's life cycle and network changes to the library, so that no view has to (INV-7).
public protocol PlatformObserver: Sendable {
    /// Starts observing and reports events to `target`.
    func observe(_ target: any PlatformTarget) -> Observing
}

/// Observes nothing: for tests.
public struct NoPlatform: PlatformObserver {
    /// Observes nothing.
    public init() {}

    /// Reports no events.
    public func observe(_ target: any PlatformTarget) -> Observing {
        Observing {}
    }
}

/// The observers of this system: on Apple's systems the app's life cycle and the network path,
/// elsewhere the machine's network addresses.
public struct SystemPlatform: PlatformObserver {
    /// The observers of this system.
    public init() {}

    /// Observes with all of them.
    public func observe(_ target: any PlatformTarget) -> Observing {
        #if canImport(Network)
            let observers: [any PlatformObserver] = [AppLifeObserver(), NetworkPathObserver()]
        #else
            let observers: [any PlatformObserver] = [NetworkAddressObserver()]
        #endif
        let running = observers.map { $0.observe(target) }
        return Observing { for one in running { one.end() } }
    }
}

/// Polls the machine's network addresses and reports changes.
public struct NetworkAddressObserver: PlatformObserver {
    private let every: Duration
    private let addresses: @Sendable () -> Set<String>

    /// Compares the machine's addresses.
    public init(every: Duration = .seconds(2)) {
        self.init(every: every, addresses: machineAddresses)
    }

    init(every: Duration, addresses: @escaping @Sendable () -> Set<String>) {
        (self.every, self.addresses) = (every, addresses)
    }

    /// Starts polling; reports changes from the current addresses.
    public func observe(_ target: any PlatformTarget) -> Observing {
        let (every, addresses) = (every, addresses)
        let first = addresses()
        let watching = Task {
            var known = first
            while (try? await Task.sleep(for: every)) != nil {
                let now = addresses()
                if now != known {
                    known = now
                    target.tell(.networkChanged)
                }
            }
        }
        return Observing { watching.cancel() }
    }
}

@Sendable private func machineAddresses() -> Set<String> {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&first) == 0 else { return [] }
    defer { freeifaddrs(first) }
    var found: Set<String> = []
    var next = first
    while let entry = next?.pointee {
        next = entry.ifa_next
        let isRunning = entry.ifa_flags & UInt32(IFF_RUNNING) != 0
        let isLoopback = entry.ifa_flags & UInt32(IFF_LOOPBACK) != 0
        guard let address = entry.ifa_addr, isRunning, !isLoopback else { continue }
        let family = Int32(address.pointee.sa_family)
        guard family == AF_INET || family == AF_INET6 else { continue }
        let size = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
        var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        let length = socklen_t(name.count)
        if getnameinfo(address, socklen_t(size), &name, length, nil, 0, NI_NUMERICHOST) == 0 {
            let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            // Addresses of one link come and go with every container; no host is reached by them.
            if !text.hasPrefix("fe80:"), !text.hasPrefix("169.254.") { found.insert(text) }
        }
    }
    return found
}
