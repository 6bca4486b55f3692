#if canImport(Network)
    import BowlineFFI
    import Dispatch
    import Foundation
    import Network

    #if canImport(UIKit) && !os(watchOS)
        import UIKit
    #elseif canImport(AppKit)
        import AppKit
    #elseif canImport(WatchKit)
        import WatchKit
    #endif

    /// Tells when the app comes to the foreground and goes to the background.
    public struct AppLifeObserver: PlatformObserver {
        /// Observes the notifications of the app.
        public init() {}

        public func observe(_ target: any PlatformTarget) -> Observing {
            let center = NotificationCenter.default
            let tokens = Self.notifications.map { name, event in
                Token(center.addObserver(forName: name, object: nil, queue: nil) { _ in Self.pass(event, to: target) })
            }
            return Observing { for token in tokens { NotificationCenter.default.removeObserver(token.value) } }
        }

        /// On iOS an app that holds the lock of a file when it is frozen is ended: it is paused first, in the time that the
        /// system gives for that.
        private static func pass(_ event: PlatformEvent, to target: any PlatformTarget) {
            target.tell(event)
            #if canImport(UIKit) && !os(watchOS)
                Task { @MainActor in
                    guard event == .background else {
                        try? await target.resume()
                        return
                    }
                    let time = UIApplication.shared.beginBackgroundTask(withName: "bowline.pause")
                    // Only an app that is still in the background is about to be frozen.
                    if UIApplication.shared.applicationState == .background { try? await target.pause() }
                    UIApplication.shared.endBackgroundTask(time)
                }
            #endif
        }

        private static var notifications: [(Notification.Name, PlatformEvent)] {
            // Their names, because the constants belong to the main actor.
            #if canImport(UIKit) && !os(watchOS)
                [
                    (Notification.Name("UIApplicationWillEnterForegroundNotification"), .foreground),
                    (Notification.Name("UIApplicationDidEnterBackgroundNotification"), .background),
                ]
            #elseif canImport(AppKit)
                [
                    (Notification.Name("NSApplicationDidBecomeActiveNotification"), .foreground),
                    (Notification.Name("NSApplicationDidHideNotification"), .background),
                ]
            #else
                []
            #endif
        }
    }

    /// Tells when the path to the network is another one.
    public struct NetworkPathObserver: PlatformObserver {
        /// Observes the system's default path.
        public init() {}

        public func observe(_ target: any PlatformTarget) -> Observing {
            let monitor = NWPathMonitor()
            let first = Flag()
            monitor.pathUpdateHandler = { path in
                // The first one says what there is, not what changed.
                if !first.set(), path.status == .satisfied { target.tell(.networkChanged) }
            }
            monitor.start(queue: DispatchQueue(label: "bowline.network"))
            return Observing { monitor.cancel() }
        }
    }

    /// The notification center's tokens may be used from any thread.
    private struct Token: @unchecked Sendable {
        let value: any NSObjectProtocol
        init(_ value: any NSObjectProtocol) { self.value = value }
    }
#endif
