package dev.bowline

import android.content.Context
import android.net.ConnectivityManager
import android.net.Network
import androidx.lifecycle.ProcessLifecycleOwner
import dev.bowline.android.AndroidPlatform
import dev.bowline.ffi.PlatformEvent
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Android's observers, on as much of Android as they touch. */
class AndroidPlatformTest {
    private val connectivity = ConnectivityManager()
    private val told = ArrayList<PlatformEvent>()

    private val context = object : Context() {
        override val applicationContext: Context get() = this

        override fun <T> getSystemService(type: Class<T>): T = type.cast(connectivity)
    }

    private val target = object : PlatformTarget {
        override fun tell(event: PlatformEvent) {
            told.add(event)
        }

        override suspend fun pause() = Unit

        override suspend fun resume() = Unit
    }

    @Test
    fun `the app's life and its network are told until the end`() {
        val observing = AndroidPlatform(context).observe(target)
        val owner = ProcessLifecycleOwner.get()
        val network = connectivity.callbacks.single()
        val (wifi, mobile) = Network() to Network()
        network.onAvailable(wifi)
        network.onAvailable(wifi)
        assertTrue(told.isEmpty(), "what is there is no change: $told")
        network.onAvailable(mobile)
        network.onLost(mobile)
        network.onAvailable(mobile)
        owner.lifecycle.observers.single().onStop(owner)
        owner.lifecycle.observers.single().onStart(owner)
        val changes = List(2) { PlatformEvent.NETWORK_CHANGED }
        assertEquals(changes + PlatformEvent.BACKGROUND + PlatformEvent.FOREGROUND, told)
        observing.close()
        assertTrue(connectivity.callbacks.isEmpty() && owner.lifecycle.observers.isEmpty())
    }
}
