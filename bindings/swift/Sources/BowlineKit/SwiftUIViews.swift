#if canImport(SwiftUI)
    import SwiftUI

    extension EnvironmentValues {
        /// The app's ``Bowline``: `ContentView().environment(\.bowline, bowline)`.
        @Entry public var bowline: Bowline?
    }

    /// Shows what is on an agent's screen, for as long as it is on the screen itself. Another agent is another screen.
    ///
    /// ```swift
    /// AgentScreenView(bowline, serverId: row.serverId, agentId: agent.id) { store in
    ///     List(store.screen.timeline.items) { Text($0.text) }
    /// }
    /// ```
    public struct AgentScreenView<Content: View>: View {
        private let make: () -> AgentScreenStore
        private let identity: String
        private let content: (AgentScreenStore) -> Content
        @State private var store: AgentScreenStore?

        /// - Parameter content: The view of a store.
        public init(
            _ bowline: Bowline, serverId: String, agentId: String,
            @ViewBuilder content: @escaping (AgentScreenStore) -> Content
        ) {
            make = { AgentScreenStore(bowline, serverId: serverId, agentId: agentId) }
            identity = "\(serverId)/\(agentId)"
            self.content = content
        }

        public var body: some View {
            Group {
                if let store {
                    content(store)
                } else {
                    Color.clear
                }
            }
            .task(id: identity) { store = make() }
            .onDisappear { store = nil }
        }
    }
#endif
