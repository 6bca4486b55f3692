package dev.bowline

import android.content.Context
import android.net.ConnectivityManager
import android.net.LinkAddress
import android.net.LinkProperties
import android.net.Network
import android.net.NetworkCapabilities
import android.net.NetworkCapabilities.Companion.NET_CAPABILITY_VALIDATED
import android.os.Looper
import androidx.lifecycle.ProcessLifecycleOwner
import dev.bowline.android.AndroidPlatform
import java.net.InetAddress
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Android's observers, on as much of Android as they touch. */
class AndroidPlatformTest {
    private val connectivity = ConnectivityManager()
    private val lifecycle = ProcessLifecycleOwner.get().lifecycle
    private val told = ArrayList<PlatformEvent>()
    private val target = RecordingTarget(told::add)

    private val context = object : Context() {
        override val applicationContext: Context get() = this

        override fun <T> getSystemService(type: Class<T>): T = type.cast(connectivity)
    }

    /** Does what was posted to the main thread. */
    private fun main() = generateSequence { Looper.getMainLooper().posted.poll() }.forEach(Runnable::run)

    private fun observing(test: (ConnectivityManager.NetworkCallback) -> Unit) {
        AndroidPlatform(context).observe(target).use { test(connectivity.callbacks.single()) }
    }

    private fun changes(): Int = told.count { it == PlatformEvent.NETWORK_CHANGED }

    @AfterEach
    fun nothingStays() {
        main()
        lifecycle.stop()
        assertTrue(connectivity.callbacks.isEmpty() && lifecycle.observers.isEmpty())
    }

    @Test
    fun `the app's life is told until the end, on the main thread`() = observing {
        assertTrue(lifecycle.observers.isEmpty(), "not from the thread that begins")
        main()
        lifecycle.start()
        lifecycle.stop()
        lifecycle.start()
        assertEquals(
            listOf(PlatformEvent.BACKGROUND, PlatformEvent.FOREGROUND, PlatformEvent.BACKGROUND, PlatformEvent.FOREGROUND),
            told,
        )
    }

    @Test
    fun `an app that is in the foreground already is never said to be elsewhere`() {
        lifecycle.start()
        observing {
            main()
            assertEquals(listOf(PlatformEvent.FOREGROUND), told)
        }
    }

    @Test
    fun `what ends before the main thread came to it leaves nothing behind`() {
        observing { }
        main()
        lifecycle.start()
        assertTrue(PlatformEvent.FOREGROUND !in told)
    }

    @Test
    fun `the network that there is, is no change, however often it is reported`() {
        val wifi = Network()
        connectivity.activeNetwork = wifi
        observing { network ->
            repeat(3) {
                network.onAvailable(wifi)
                network.onCapabilitiesChanged(wifi, NetworkCapabilities(NET_CAPABILITY_VALIDATED, it))
                network.onLinkPropertiesChanged(wifi, addresses("192.0.2.1"))
            }
            assertEquals(0, changes())
        }
    }

    @Test
    fun `the first network after none is a change`() = observing { network ->
        network.onAvailable(Network())
        assertEquals(1, changes())
    }

    @Test
    fun `another network is one change, with all that is reported of it, and so is the same one again`() {
        val (wifi, mobile) = Network() to Network()
        connectivity.activeNetwork = wifi
        observing { network ->
            network.onAvailable(wifi)
            network.onCapabilitiesChanged(wifi, NetworkCapabilities(NET_CAPABILITY_VALIDATED))
            network.onLinkPropertiesChanged(wifi, addresses("192.0.2.1"))
            network.onAvailable(mobile)
            network.onCapabilitiesChanged(mobile, NetworkCapabilities(NET_CAPABILITY_VALIDATED))
            network.onLinkPropertiesChanged(mobile, addresses("198.51.100.1"))
            assertEquals(1, changes())
            network.onLost(mobile)
            assertEquals(1, changes())
            network.onAvailable(mobile)
            network.onLinkPropertiesChanged(mobile, addresses("198.51.100.1"))
            assertEquals(2, changes())
        }
    }

    @Test
    fun `other addresses on the same network, and a network that lets nobody through until now, are changes`() {
        val wifi = Network()
        connectivity.activeNetwork = wifi
        observing { network ->
            network.onAvailable(wifi)
            network.onCapabilitiesChanged(wifi, NetworkCapabilities())
            network.onLinkPropertiesChanged(wifi, addresses("192.0.2.1"))
            network.onLinkPropertiesChanged(wifi, addresses("192.0.2.1", "2001:db8::1"))
            assertEquals(1, changes())
            network.onCapabilitiesChanged(wifi, NetworkCapabilities(NET_CAPABILITY_VALIDATED))
            assertEquals(2, changes())
        }
    }

    private fun addresses(vararg addresses: String) =
        LinkProperties(addresses.map { LinkAddress(InetAddress.getByName(it)) })
}
