package dev.bowline.android

import android.net.ConnectivityManager
import android.net.LinkProperties
import android.net.Network
import android.net.NetworkCapabilities
import java.net.InetAddress

/**
 * Calls [changed] when the network under the app's connections changes: another network, the same one
 * after a loss, other addresses of this device, or a network that starts to pass traffic (after the
 * login page of a hotel).
 *
 * The system's repeated reports are not changes: it first reports the current network, and each network
 * comes with its capabilities and its addresses; the capabilities are repeated at every change of the
 * signal strength. The system calls on one thread at a time, so no lock is needed.
 *
 * @param known The network at the start of the observation, if any.
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
        // A loss is not reported; the next network is, even if it is the same.
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
