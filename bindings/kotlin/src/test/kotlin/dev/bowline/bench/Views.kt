package dev.bowline.bench

import dev.bowline.Bowline
import dev.bowline.Folder
import dev.bowline.HostSnapshot
import dev.bowline.Intent
import dev.bowline.PlatformObserver
import dev.bowline.PreviewData
import dev.bowline.config
import dev.bowline.hosts
import java.io.File
import java.util.Base64
import kotlinx.coroutines.flow.first

/** Hosts that the app knows. */
private const val HOSTS = 20

/** Creations, and calls, before the measured ones: until the JIT has compiled what they run. */
private const val CREATIONS_BEFORE = 20
private const val CALLS_BEFORE = 6_000

/** Microseconds from the creation of `Bowline`, on a folder with [HOSTS] hosts, until `hosts` shows them all. */
internal suspend fun firstSnapshots(samples: Int): List<Double> = Folder().use { folder ->
    knowHosts(folder)
    List(CREATIONS_BEFORE + samples) {
        val start = System.nanoTime()
        val bowline = open(folder)
        bowline.hosts.first { it.hosts.size == HOSTS }
        microsSince(start).also { bowline.shutdown() }
    }.drop(CREATIONS_BEFORE)
}

/** Microseconds that the call of `send` takes. */
internal suspend fun intentCalls(samples: Int): List<Double> {
    // The calls before go elsewhere, so that the outbox that is measured begins empty; and to all hosts, since none takes that many.
    called(CALLS_BEFORE) { it }
    // The very first one opens the outbox's file as well.
    return called(1 + samples) { it.take(1) }.drop(1)
}

private suspend fun called(count: Int, choose: (List<String>) -> List<String>): List<Double> = Folder().use { folder ->
    val servers = choose(knowHosts(folder))
    val bowline = open(folder)
    // Its start is another figure: until it has found nobody at home.
    bowline.hosts.first { it.hosts.size == HOSTS && it.hosts.all { host -> host.lastError != null } }
    val intent = Intent.Cancel("agt_bench")
    List(count) { n ->
        val server = servers[n % servers.size]
        val start = System.nanoTime()
        bowline.send(server, intent)
        microsSince(start)
    }.also { bowline.shutdown() }
}

private fun open(folder: Folder) = Bowline(config(folder.path), platform = PlatformObserver.none)

/** Makes an identity, and hosts that know it, at addresses where nobody listens; their names. */
private suspend fun knowHosts(folder: Folder): List<String> {
    open(folder).shutdown()
    val servers = PreviewData(HOSTS.toUInt(), 0u).use { it.hosts().first { made -> made.hosts.size == HOSTS }.hosts.map(HostSnapshot::serverId) }
    val hosts = servers.mapIndexed { n, server ->
        val key = Base64.getUrlEncoder().withoutPadding().encodeToString(ByteArray(32) { n.toByte() })
        """{"serverId":"$server","name":"host $n","transportKey":"$key","addresses":[{"path":"direct","address":"127.0.0.1:1"}]}"""
    }
    File(folder.file, "hosts.json").writeText("""{"version":1,"hosts":[${hosts.joinToString(",")}]}""")
    return servers
}
