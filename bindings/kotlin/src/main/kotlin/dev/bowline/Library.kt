package dev.bowline

import com.sun.jna.Callback
import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native

/** The native library is missing, or its version does not match these bindings. */
public class LibraryException internal constructor(message: String, cause: Throwable? = null) :
    RuntimeException(message, cause)

/** Loads the native library once per process, and checks that it matches these bindings. */
internal object Library {
    private val outcome: Result<Unit> by lazy { runCatching { attachThreadsOnce(); check(EXPECTED_ABI_ID) } }

    /**
     * Loads and checks.
     *
     * @throws LibraryException says what is wrong and what to do.
     */
    fun load() {
        outcome.getOrElse { problem ->
            throw when (problem) {
                is LibraryException -> problem
                else -> LibraryException("the native library bowline_ffi cannot be used: $problem", problem)
            }
        }
    }

    /** Compares the library with these bindings, before any of its functions is called. */
    internal fun check(expected: String) {
        val found = try {
            abiId()
        } catch (problem: UnsatisfiedLinkError) {
            throw LibraryException("the native library bowline_ffi was not found, or is not one: ${problem.message}", problem)
        }
        if (found != expected) {
            throw LibraryException(
                "the native library is `$found`, these bindings are for `$expected`: ship both from one release",
            )
        }
    }

    /**
     * The dispatcher's thread becomes a thread of the JVM once, as a daemon, and stays one. Otherwise JNA makes a new one
     * for every callback. Must come before the library is touched: later it is silently ignored.
     */
    private fun attachThreadsOnce() {
        val once = CallbackThreadInitializer(true, false, "bowline")
        for (callback in callbacks()) Native.setCallbackThreadInitializer(callback, once)
    }

    private fun callbacks(): List<Callback> = listOf(
        uniffiCallbackInterfaceHostsListener.onHosts,
        uniffiCallbackInterfaceHostsListener.uniffiFree,
        uniffiCallbackInterfaceDirectoryListener.onDirectory,
        uniffiCallbackInterfaceDirectoryListener.uniffiFree,
        uniffiCallbackInterfaceScreenListener.onScreen,
        uniffiCallbackInterfaceScreenListener.uniffiFree,
        uniffiCallbackInterfaceTimelineListener.onTimeline,
        uniffiCallbackInterfaceTimelineListener.uniffiFree,
        uniffiCallbackInterfaceTableListener.onTable,
        uniffiCallbackInterfaceTableListener.uniffiFree,
        uniffiCallbackInterfaceItemsListener.onItems,
        uniffiCallbackInterfaceItemsListener.uniffiFree,
        uniffiCallbackInterfaceTopicListener.onTopic,
        uniffiCallbackInterfaceTopicListener.uniffiFree,
        uniffiCallbackInterfaceTransferListener.onProgress,
        uniffiCallbackInterfaceTransferListener.uniffiFree,
        uniffiCallbackInterfaceLogListener.onLog,
        uniffiCallbackInterfaceLogListener.uniffiFree,
        uniffiCallbackInterfaceKeyStore.uniffiFree,
        // Resumes coroutines that wait for the library, on the same thread.
        uniffiRustFutureContinuationCallbackImpl,
    )
}
