@file:Suppress("PackageDirectoryMismatch")

package android.net

class Network

class ConnectivityManager {
    open class NetworkCallback {
        open fun onAvailable(network: Network) = Unit

        open fun onLost(network: Network) = Unit
    }

    val callbacks = ArrayList<NetworkCallback>()

    fun registerDefaultNetworkCallback(callback: NetworkCallback) {
        callbacks.add(callback)
    }

    fun unregisterNetworkCallback(callback: NetworkCallback) {
        callbacks.remove(callback)
    }
}
