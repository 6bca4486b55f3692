#if canImport(SwiftUI)
    import SwiftUI

    extension EnvironmentValues {
        /// The app's ``Bowline``: `ContentView().environment(\.bowline, bowline)`.
        @Entry public var bowline: Bowline?
    }

    /// Shows what is on an agent's screen, from when it first appears until SwiftUI is done with it: under another view of
    /// a navigation stack it keeps its content, and its place in it. Another agent is another screen.
    ///
    /// ```swift
    /// AgentScreenView(bowline, serverId: row.serverId, agentId: agent.id) { store in
    ///     List(store.timeline.items) { Text($0.text) }
    /// }
    /// ```
    public struct AgentScreenView<Content: View>: View {
        private let identity: Identity
        private let make: @MainActor () -> AgentScreenStore
        private let content: (AgentScreenStore) -> Content

        /// - Parameter content: The view of a store.
        public init(
            _ bowline: Bowline, serverId: String, agentId: String,
            @ViewBuilder content: @escaping (AgentScreenStore) -> Content
        ) {
            identity = Identity(serverId: serverId, agentId: agentId)
            make = { AgentScreenStore(bowline, serverId: serverId, agentId: agentId) }
            self.content = content
        }

        /// The content, with the state of this agent's screen only.
        public var body: some View {
            Holder(make: make, content: content).id(identity)
        }

        private struct Identity: Hashable {
            let serverId: String
            let agentId: String
        }
    }

    /// Has the store. It is made when the view appears and not with it: SwiftUI makes views far more often than it shows them.
    private struct Holder<Content: View>: View {
        let make: @MainActor () -> AgentScreenStore
        let content: (AgentScreenStore) -> Content
        @State private var store: AgentScreenStore?

        var body: some View {
            Group {
                if let store {
                    content(store)
                } else {
                    Color.clear
                }
            }
            .onAppear { if store == nil { store = make() } }
        }
    }
#endif
