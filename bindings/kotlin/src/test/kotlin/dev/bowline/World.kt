package dev.bowline

import java.io.BufferedReader
import java.io.File
import java.nio.file.Files
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.filterNotNull
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.withTimeout
import kotlin.time.Duration.Companion.seconds

/** For waits that only a broken library exceeds, however slow the machine. */
val LONG = 60.seconds

/** The built programs of the project. */
private val programs by lazy { File(System.getProperty("bowline.programs")) }

/** A real daemon behind two direct paths and a relay, as `bowline-testkit-world` runs it. */
class World(vararg arguments: String) : AutoCloseable {
    private val process = ProcessBuilder(File(programs, "bowline-testkit-world").path, *arguments)
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start()
    private val answers: BufferedReader = process.inputReader()

    init {
        val ready = answers.readLine()
        check(ready != null && ready.contains("\"ready\"")) { "no world: $ready" }
    }

    /** Sends one order and returns its answer. */
    @Synchronized
    fun order(order: String): String {
        process.outputWriter().run {
            write(order + "\n")
            flush()
        }
        val answer = answers.readLine() ?: error("the world ended at $order")
        check(answer.contains("\"ok\":true")) { "$order: $answer" }
        return answer
    }

    fun offer(vararg paths: Int, ask: Boolean = false): String = link("""{"do":"offer","paths":${paths.toList()},"ask":$ask}""")

    /** The offer that answers an order. */
    fun link(order: String): String = Regex("\"offer\":\"([^\"]+)\"").find(order(order))!!.groupValues[1]

    fun cut(path: Int) = order("""{"do":"cut","path":$path}""")

    fun heal(path: Int) = order("""{"do":"heal","path":$path}""")

    /** How many sessions the daemon has. */
    fun sessions(): Int = number("count", order("""{"do":"sessions"}"""))

    /** What clients have told the impostor: its `connections`, the `hellos` it could read, and the `messages` after those. */
    fun heard(what: String): Int = number(what, order("""{"do":"heard"}"""))

    private fun number(name: String, answer: String) = Regex("\"$name\":(\\d+)").find(answer)!!.groupValues[1].toInt()

    override fun close() {
        process.outputWriter().close()
        if (!process.waitFor(20, TimeUnit.SECONDS)) process.destroyForcibly()
    }
}

/** A folder that goes with the test. */
class Folder : AutoCloseable {
    val file: File = Files.createTempDirectory("bowline-kotlin").toFile()
    val path: String get() = file.path

    override fun close() {
        file.deleteRecursively()
    }
}

fun config(folder: String): RuntimeConfig =
    RuntimeConfig(storageFolder = folder, appName = "kotlin-test", appVersion = "1.0")

/** The first value that fits, within [LONG]. */
suspend fun <T> Flow<T>.until(fits: (T) -> Boolean): T {
    var last: T? = null
    return try {
        withTimeout(LONG) { first { last = it; fits(it) } }
    } catch (late: kotlinx.coroutines.TimeoutCancellationException) {
        throw AssertionError("nothing that fits in $LONG; the last was $last", late)
    }
}

/** Waits until the only host is online on such a path. */
suspend fun Bowline.online(vararg paths: Path): String =
    hosts.until { snapshot ->
        snapshot.hosts.singleOrNull()?.let { it.state == HostState.ONLINE && (paths.isEmpty() || it.path in paths) } == true
    }.hosts.single().serverId

/** All turns are over, and nothing is on its way. */
fun ended(screen: AgentScreen): Boolean =
    screen.timeline.items.lastOrNull()?.kind == ItemKind.TURN_END && screen.timeline.pending.isEmpty()

/** An agent with one turn behind it. */
suspend fun Bowline.agent(server: String, folder: Folder): String {
    val intent = send(server, Intent.CreateAgent("cat", folder.path, null, "hello"))
    return screen(server, ScreenTarget.Creation(intent)).use { screen ->
        screen.state.filterNotNull().until { it.agentId != null && ended(it) }.agentId!!
    }
}
