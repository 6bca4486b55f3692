package dev.bowline.android

import android.content.Context
import android.net.ConnectivityManager
import android.net.Network
import android.os.Handler
import android.os.Looper
import androidx.lifecycle.DefaultLifecycleObserver
import androidx.lifecycle.LifecycleOwner
import androidx.lifecycle.ProcessLifecycleOwner
import dev.bowline.PlatformObserver
import dev.bowline.PlatformTarget
import dev.bowline.ffi.PlatformEvent

/**
 * Tells the library when the app comes to the foreground or goes to the background, and when its network is another one.
 * Pass it to `Bowline`; no view has to do any of it (INV-7).
 *
 * @param context Any context of the app; only its application is kept.
 */
public class AndroidPlatform(context: Context) : PlatformObserver {
    private val application = context.applicationContext

    override fun observe(target: PlatformTarget): AutoCloseable {
        val life = Life(target)
        val network = DefaultNetwork(target)
        val connectivity = application.getSystemService(ConnectivityManager::class.java)
        connectivity.registerDefaultNetworkCallback(network)
        // Observers of a lifecycle belong to the main thread.
        val main = Handler(Looper.getMainLooper())
        main.post { ProcessLifecycleOwner.get().lifecycle.addObserver(life) }
        return AutoCloseable {
            connectivity.unregisterNetworkCallback(network)
            main.post { ProcessLifecycleOwner.get().lifecycle.removeObserver(life) }
        }
    }
}

private class Life(private val target: PlatformTarget) : DefaultLifecycleObserver {
    override fun onStart(owner: LifecycleOwner) = target.tell(PlatformEvent.FOREGROUND)

    override fun onStop(owner: LifecycleOwner) = target.tell(PlatformEvent.BACKGROUND)
}

private class DefaultNetwork(private val target: PlatformTarget) : ConnectivityManager.NetworkCallback() {
    /** The first one is what there is, not a change. */
    private var known: Network? = null
    private var lost = false

    @Synchronized
    override fun onAvailable(network: Network) {
        val changed = known != null && (lost || known != network)
        known = network
        lost = false
        if (changed) target.tell(PlatformEvent.NETWORK_CHANGED)
    }

    @Synchronized
    override fun onLost(network: Network) {
        lost = true
    }
}
