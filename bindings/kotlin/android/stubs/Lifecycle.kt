@file:Suppress("PackageDirectoryMismatch")

package androidx.lifecycle

interface LifecycleOwner {
    val lifecycle: Lifecycle
}

class Lifecycle {
    val observers = ArrayList<DefaultLifecycleObserver>()

    fun addObserver(observer: DefaultLifecycleObserver) {
        observers.add(observer)
    }

    fun removeObserver(observer: DefaultLifecycleObserver) {
        observers.remove(observer)
    }
}

interface DefaultLifecycleObserver {
    fun onStart(owner: LifecycleOwner) = Unit

    fun onStop(owner: LifecycleOwner) = Unit
}

class ProcessLifecycleOwner private constructor() : LifecycleOwner {
    override val lifecycle = Lifecycle()

    companion object {
        private val owner = ProcessLifecycleOwner()

        @JvmStatic
        fun get(): LifecycleOwner = owner
    }
}
