package dev.bowline

/** The library's log. No line contains a session or a key. */
public object Logs {
    /**
     * Passes the log to a function until the returned handle is closed. The function runs on the
     * library's dispatcher thread, which serves all subscriptions, so it should be quick. Lines beyond
     * the buffer are counted in [LogBatch.dropped]. A function that throws sixteen times in a row is
     * detached.
     *
     * @param level Lines of lower levels are left out.
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
     * @param level Lines of lower levels are left out.
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
