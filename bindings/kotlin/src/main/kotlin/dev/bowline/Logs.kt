package dev.bowline

import dev.bowline.ffi.LogBatch
import dev.bowline.ffi.LogLevel
import dev.bowline.ffi.LogListener
import dev.bowline.ffi.logToSystem
import dev.bowline.ffi.subscribeLogs

/** The library's log. Nothing in it names a session or holds a key. */
public object Logs {
    /**
     * Hands the log to a function, from now on until what is returned is closed. It is called on the library's own thread, which
     * serves all subscriptions: it should be quick. What does not fit while it is busy is counted in [LogBatch.dropped]. One that throws
     * sixteen times in a row is called no more.
     *
     * @param level What is less grave is left out.
     * @throws LibraryException when the native library is missing or of another version.
     */
    public fun collect(level: LogLevel, receive: (LogBatch) -> Unit): AutoCloseable {
        Library.load()
        val subscription = subscribeLogs(level, logListener(receive))
        return AutoCloseable {
            subscription.cancel()
            subscription.close()
        }
    }

    /**
     * Sends the log to the system's own, from now on: Android's logcat, Apple's unified log.
     *
     * @param level What is less grave is left out.
     * @return false where there is none.
     * @throws LibraryException when the native library is missing or of another version.
     */
    public fun toSystem(level: LogLevel): Boolean {
        Library.load()
        return logToSystem(level)
    }
}

private fun logListener(receive: (LogBatch) -> Unit): LogListener = object : LogListener {
    override fun onLog(batch: LogBatch) = guarded { receive(batch) }
}
