@file:Suppress("PackageDirectoryMismatch")

package androidx.lifecycle

interface LifecycleOwner {
    val lifecycle: Lifecycle
}

class Lifecycle(private val owner: LifecycleOwner) {
    enum class State {
        CREATED,
        STARTED,
        ;

        fun isAtLeast(state: State): Boolean = this >= state
    }

    val observers = ArrayList<DefaultLifecycleObserver>()

    var currentState = State.CREATED
        private set

    /** As Android: who comes late is told what he missed. */
    fun addObserver(observer: DefaultLifecycleObserver) {
        observers.add(observer)
        if (currentState == State.STARTED) observer.onStart(owner)
    }

    fun removeObserver(observer: DefaultLifecycleObserver) {
        observers.remove(observer)
    }

    fun start() {
        currentState = State.STARTED
        observers.forEach { it.onStart(owner) }
    }

    fun stop() {
        currentState = State.CREATED
        observers.forEach { it.onStop(owner) }
    }
}

interface DefaultLifecycleObserver {
    fun onStart(owner: LifecycleOwner) = Unit

    fun onStop(owner: LifecycleOwner) = Unit
}

class ProcessLifecycleOwner private constructor() : LifecycleOwner {
    override val lifecycle = Lifecycle(this)

    companion object {
        private val owner = ProcessLifecycleOwner()

        @JvmStatic
        fun get(): LifecycleOwner = owner
    }
}
