package dev.bowline.android

import android.net.ConnectivityManager
import android.net.LinkProperties
import android.net.Network
import android.net.NetworkCapabilities
import java.net.InetAddress

/**
 * Calls [changed] when what the app's connections run over is not what it was: another network, the same one again after there
 * was none, other addresses of this device on it, or one that lets nobody through until now (a hotel's login page).
 *
 * The system repeats itself: when it is asked, it first says what there is; and each network comes with a report of its
 * capabilities and one of its addresses, of which the former is repeated with every change of the signal's strength. None of that is a
 * change. The system calls on one thread at a time, and so this needs no lock.
 *
 * @param known The network at the time of asking, if there was one.
 */
internal class DefaultNetwork(private var known: Network?, private val changed: () -> Unit) :
    ConnectivityManager.NetworkCallback() {
    private var addresses: Set<InetAddress>? = null
    private var validated: Boolean? = null

    override fun onAvailable(network: Network) {
        val another = network != known
        known = network
        if (another) {
            addresses = null
            validated = null
            changed()
        }
    }

    override fun onLost(network: Network) {
        // With nothing to connect over there is nothing to tell: what comes next is told, be it the same.
        if (network == known) known = null
    }

    override fun onCapabilitiesChanged(network: Network, networkCapabilities: NetworkCapabilities) {
        val now = networkCapabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_VALIDATED)
        val opened = network == known && validated == false && now
        validated = now
        if (opened) changed()
    }

    override fun onLinkPropertiesChanged(network: Network, linkProperties: LinkProperties) {
        val now = linkProperties.linkAddresses.mapTo(HashSet()) { it.address }
        val others = network == known && addresses != null && addresses != now
        addresses = now
        if (others) changed()
    }
}
