package dev.bowline.bench

import dev.bowline.Bowline
import dev.bowline.Folder
import dev.bowline.PlatformObserver
import dev.bowline.config
import dev.bowline.ffi.Intent
import dev.bowline.ffi.Rehearsal
import dev.bowline.hosts
import java.io.File
import java.util.Base64
import kotlinx.coroutines.flow.first

/** Hosts that the app knows. */
private const val HOSTS = 20

/** Samples before the measured ones. */
private const val WARM_UP = 20

/**
 * Microseconds from the creation of `Bowline`, on a folder with [HOSTS] hosts, until `hosts` shows them all; and microseconds that
 * the call of `send` takes, ten times as many.
 */
internal suspend fun views(repetitions: Int): Pair<List<Double>, List<Double>> = Folder().use { folder ->
    val open = { Bowline(config(folder.path), platform = PlatformObserver.none) }
    // Makes the identity that the hosts know.
    open().shutdown()
    val servers = knowHosts(folder.file)
    val first = ArrayList<Double>()
    repeat(WARM_UP + repetitions) { n ->
        val start = System.nanoTime()
        val bowline = open()
        bowline.hosts.first { it.hosts.size == HOSTS }
        val took = microsSince(start)
        bowline.shutdown()
        if (n >= WARM_UP) first.add(took)
    }
    val intent = ArrayList<Double>()
    val bowline = open()
    val cancel = Intent.Cancel("agt_bench")
    repeat(10 * (WARM_UP + repetitions)) { n ->
        val start = System.nanoTime()
        bowline.send(servers.first(), cancel)
        // The very first one opens the outbox's file as well.
        if (n >= 10 * WARM_UP) intent.add(microsSince(start))
    }
    bowline.shutdown()
    first to intent
}

/** Writes hosts into a storage folder, at addresses where nobody listens; their names. */
private suspend fun knowHosts(folder: File): List<String> = Rehearsal(HOSTS.toUInt(), 0u).use { rehearsal ->
    val servers = rehearsal.hosts().first { it.hosts.size == HOSTS }.hosts.map { it.serverId }
    val hosts = servers.mapIndexed { n, server ->
        val key = Base64.getUrlEncoder().withoutPadding().encodeToString(ByteArray(32) { n.toByte() })
        """{"serverId":"$server","name":"host $n","transportKey":"$key","addresses":[{"path":"direct","address":"127.0.0.1:1"}]}"""
    }
    File(folder, "hosts.json").writeText("""{"version":1,"hosts":[${hosts.joinToString(",")}]}""")
    servers
}
