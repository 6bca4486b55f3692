@file:Suppress("PackageDirectoryMismatch")

package android.net

import java.net.InetAddress

class Network

class LinkAddress(val address: InetAddress)

class LinkProperties(val linkAddresses: List<LinkAddress>)

class NetworkCapabilities(private vararg val capabilities: Int) {
    fun hasCapability(capability: Int): Boolean = capability in capabilities

    companion object {
        const val NET_CAPABILITY_VALIDATED = 16
    }
}

class ConnectivityManager {
    open class NetworkCallback {
        open fun onAvailable(network: Network) = Unit

        open fun onLost(network: Network) = Unit

        open fun onCapabilitiesChanged(network: Network, networkCapabilities: NetworkCapabilities) = Unit

        open fun onLinkPropertiesChanged(network: Network, linkProperties: LinkProperties) = Unit
    }

    var activeNetwork: Network? = null

    val callbacks = ArrayList<NetworkCallback>()

    fun registerDefaultNetworkCallback(callback: NetworkCallback) {
        callbacks.add(callback)
    }

    fun unregisterNetworkCallback(callback: NetworkCallback) {
        callbacks.remove(callback)
    }
}
