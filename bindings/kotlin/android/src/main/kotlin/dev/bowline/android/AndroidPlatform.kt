package dev.bowline.android

import android.content.Context
import android.net.ConnectivityManager
import android.os.Handler
import android.os.Looper
import androidx.lifecycle.DefaultLifecycleObserver
import androidx.lifecycle.Lifecycle
import androidx.lifecycle.LifecycleOwner
import androidx.lifecycle.ProcessLifecycleOwner
import dev.bowline.PlatformEvent
import dev.bowline.PlatformObserver
import dev.bowline.PlatformTarget
import java.lang.ref.WeakReference

/**
 * Reports to the library when the app enters the foreground or the background, and when its network
 * changes. Pass it to `Bowline`; views report nothing (INV-7).
 *
 * @param context Any context of the app; only its application is held.
 */
public class AndroidPlatform(context: Context) : PlatformObserver {
    private val application = context.applicationContext

    /**
     * Starts observing, from any thread. The life cycle is observed on the main thread, the network on
     * one of the system's.
     *
     * @throws SecurityException when the app removed the permission `ACCESS_NETWORK_STATE` that this library's manifest asks for.
     */
    override fun observe(target: PlatformTarget): AutoCloseable {
        val told = WeakReference(target)
        val connectivity = application.getSystemService(ConnectivityManager::class.java)
        val network = DefaultNetwork(connectivity.activeNetwork) { told.get()?.tell(PlatformEvent.NETWORK_CHANGED) }
        connectivity.registerDefaultNetworkCallback(network)
        val life = Life(told)
        // Observers of a lifecycle belong to the main thread, which does these two in this order.
        val main = Handler(Looper.getMainLooper())
        main.post { life.begin(ProcessLifecycleOwner.get().lifecycle) }
        return AutoCloseable {
            connectivity.unregisterNetworkCallback(network)
            main.post { life.end(ProcessLifecycleOwner.get().lifecycle) }
        }
    }
}

/** Observes the life cycle of the whole app: all of its activities together. */
private class Life(private val target: WeakReference<PlatformTarget>) : DefaultLifecycleObserver {
    fun begin(lifecycle: Lifecycle) {
        // A process started by a push or a job is in the background, without any event. One in the
        // foreground gets an event right after this.
        if (!lifecycle.currentState.isAtLeast(Lifecycle.State.STARTED)) tell(PlatformEvent.BACKGROUND)
        lifecycle.addObserver(this)
    }

    fun end(lifecycle: Lifecycle) = lifecycle.removeObserver(this)

    override fun onStart(owner: LifecycleOwner) = tell(PlatformEvent.FOREGROUND)

    override fun onStop(owner: LifecycleOwner) = tell(PlatformEvent.BACKGROUND)

    private fun tell(event: PlatformEvent) {
        target.get()?.tell(event)
    }
}
