package dev.bowline

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelChildren
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

/** An app with a project of a real daemon that has a service, `daemon/examples/voxel.rs`; [params] name the project. */
data class Castle(val bowline: Bowline, val server: String, val project: String, val params: String, val world: World) {
    /** A change of the project; [members] follow its name in the JSON. */
    fun change(method: String, members: String) = Intent.Custom("voxel.$method", """{"project":"$project",$members}""")

    fun send(method: String, members: String): String = bowline.send(server, change(method, members))

    /** Sends a change, and waits until the daemon has made it. */
    suspend fun run(method: String, members: String) {
        bowline.done(server, send(method, members))
    }
}

/** Waits until the daemon has made a change, and returns its result. */
private suspend fun Bowline.done(server: String, intent: String): String? {
    hosts.until { snapshot -> snapshot.hosts.any { host -> host.recentIntents.any { it.intentId == intent } } }
    return intentResult(server, intent)
}

/** The newest value of a flow, which is collected until the test ends. */
fun <T> CoroutineScope.collected(initial: T, flow: Flow<T>): StateFlow<T> {
    val newest = MutableStateFlow(initial)
    launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { flow.collect { newest.value = it } }
    return newest
}

/** Runs a test with one, which ends with it. */
fun withCastle(test: suspend CoroutineScope.(Castle) -> Unit): Unit = runBlocking {
    World("voxel").use { world ->
        Folder().use { folder ->
            Bowline(config(folder.path), platform = PlatformObserver.none).use { bowline ->
                val server = bowline.pair(world.offer(0)).serverId
                bowline.online(Path.DIRECT)
                val create = Intent.Custom("voxel.create_project", """{"name":"castle","size":[8,8,8]}""")
                val made = bowline.done(server, bowline.send(server, create))!!
                val project = Regex("\"project\":\"([^\"]+)\"").find(made)!!.groupValues[1]
                test(Castle(bowline, server, project, """{"project":"$project"}""", world))
                coroutineContext.cancelChildren()
            }
        }
    }
}
