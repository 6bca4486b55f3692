import dev.bowline.Bowline
import dev.bowline.Intent
import dev.bowline.ItemKind
import dev.bowline.RuntimeConfig
import dev.bowline.ScreenTarget
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

fun main(arguments: Array<String>) = runBlocking {
    val (folder, offer) = arguments
    // Besides, deviceName = "Ann's phone" tells devices apart in the daemon's list of them.
    val bowline = Bowline(RuntimeConfig(storageFolder = folder, appName = "hello", appVersion = "1.0"))

    // A live list of hosts.
    val list = launch {
        bowline.hosts.collect { snapshot ->
            for (host in snapshot.hosts) println("${host.name}: ${host.state}")
        }
    }

    // What `bowline-daemon pair` prints; an app shows `inspectOffer(offer)` and asks first. Once is enough: the host is
    // remembered. The daemon's owner is asked meanwhile: `bowline.hosts` has the code to show, in `pairings`.
    val host = bowline.pair(offer)

    // An agent, its screen, and a prompt for it.
    val intent = bowline.send(host.serverId, Intent.CreateAgent("shell", cwd = folder, title = null, prompt = null))
    bowline.screen(host.serverId, ScreenTarget.Creation(intent)).use { screen ->
        screen.state.first { it?.agentId != null }
        screen.send("echo it works")
        val done = screen.state.first { it?.timeline?.items?.lastOrNull()?.kind == ItemKind.TURN_END }
        done?.timeline?.items?.forEach { println("${it.kind} ${it.text}") }
    }
    list.cancel()
    bowline.shutdown()
}
