package dev.bowline

/**
 * What calls of the library report their outcome in. Each is a piece of native memory with a cleaner, and a call of the library needs
 * several: taking used ones again takes a third off an intent's call. The generated code takes them here (`cargo xtask bindings kotlin`
 * sees to that).
 */
internal object CallStatuses {
    /** Calls within calls of one thread; what is given back beyond is left to the garbage collector. */
    private const val MOST = 8

    private val unused = ThreadLocal.withInitial { ArrayDeque<UniffiRustCallStatus>(MOST) }

    /** One that nothing was reported in. */
    fun take(): UniffiRustCallStatus = unused.get().removeLastOrNull() ?: UniffiRustCallStatus()

    /** Gives one back that a call which went well has used. After any other outcome it is not given back. */
    fun giveBack(status: UniffiRustCallStatus) {
        val unused = unused.get()
        if (unused.size < MOST && status.isSuccess()) unused.addLast(status)
    }
}
