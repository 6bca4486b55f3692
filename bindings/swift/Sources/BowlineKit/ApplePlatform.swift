#if canImport(Network)
    import BowlineFFI
    import Dispatch
    import Foundation
    import Network

    #if canImport(UIKit) && !os(watchOS)
        import UIKit
    #elseif canImport(AppKit)
        import AppKit
    #endif

    /// Tells when the app comes to the foreground and goes to the background. An app that is merely inactive, under a call or
    /// the app switcher, is in neither way told of: it is on the screen.
    public struct AppLifeObserver: PlatformObserver {
        /// Observes the notifications of the app, which are about all its scenes together.
        public init() {}

        /// Starts observing.
        public func observe(_ target: any PlatformTarget) -> Observing {
            let center = NotificationCenter.default
            let tokens = Self.notifications(for: target).map { name, act in
                // Without a queue: in the notification itself, while the system still waits for the app.
                Token(center.addObserver(forName: Notification.Name(name), object: nil, queue: nil) { _ in act() })
            }
            return Observing { for token in tokens { NotificationCenter.default.removeObserver(token.value) } }
        }

        // Notifications by their names, because the constants belong to the main actor.
        #if canImport(UIKit) && !os(watchOS)
            /// On iOS an app that holds the lock of a file when it is frozen is ended: it is paused first, in the time that
            /// the system gives for that.
            private static func notifications(for target: any PlatformTarget) -> [(String, @Sendable () -> Void)] {
                let life = AppLife(target)
                return [
                    ("UIApplicationWillEnterForegroundNotification", { life.enterForeground() }),
                    (
                        "UIApplicationDidEnterBackgroundNotification",
                        {
                            onMain {
                                let time = BackgroundTime(named: "bowline.pause")
                                life.enterBackground { Task { @MainActor in time.end() } }
                            }
                        }
                    ),
                ]
            }
        #elseif canImport(AppKit)
            /// A Mac does not freeze apps, so that nothing is paused there.
            private static func notifications(for target: any PlatformTarget) -> [(String, @Sendable () -> Void)] {
                [
                    ("NSApplicationDidBecomeActiveNotification", { target.tell(.foreground) }),
                    ("NSApplicationDidUnhideNotification", { target.tell(.foreground) }),
                    ("NSApplicationDidHideNotification", { target.tell(.background) }),
                ]
            }
        #else
            private static func notifications(for target: any PlatformTarget) -> [(String, @Sendable () -> Void)] { [] }
        #endif
    }

    /// Reports changes of the network path.
    public struct NetworkPathObserver: PlatformObserver {
        /// Observes the system's default path.
        public init() {}

        /// Starts observing.
        public func observe(_ target: any PlatformTarget) -> Observing {
            let changes = NetworkChanges<NWPath> { target.tell(.networkChanged) }
            let monitor = NWPathMonitor()
            monitor.pathUpdateHandler = { path in changes.report(path.status == .satisfied ? path : nil) }
            monitor.start(queue: DispatchQueue(label: "bowline.network"))
            return Observing {
                changes.end()
                monitor.cancel()
            }
        }
    }

    #if canImport(UIKit) && !os(watchOS)
        /// The system posts its notifications on the main thread; another poster's do no harm.
        private func onMain(_ act: @escaping @MainActor @Sendable () -> Void) {
            if Thread.isMainThread {
                MainActor.assumeIsolated(act)
            } else {
                Task { @MainActor in act() }
            }
        }

        /// Time that the system gives to an app in the background, until it is ended or runs out. An app that does not end
        /// it is ended itself.
        @MainActor
        private final class BackgroundTime {
            private var given = UIBackgroundTaskIdentifier.invalid

            init(named name: String) {
                given = UIApplication.shared.beginBackgroundTask(withName: name) { [weak self] in self?.end() }
            }

            func end() {
                guard given != .invalid else { return }
                UIApplication.shared.endBackgroundTask(given)
                given = .invalid
            }
        }
    #endif

    /// The notification center's tokens may be used from any thread.
    private struct Token: @unchecked Sendable {
        let value: any NSObjectProtocol
        init(_ value: any NSObjectProtocol) { self.value = value }
    }
#endif
