@file:Suppress("PackageDirectoryMismatch")

package android.os

import java.util.concurrent.LinkedBlockingQueue

class Looper private constructor() {
    val posted = LinkedBlockingQueue<Runnable>()

    companion object {
        private val main = Looper()

        @JvmStatic
        fun getMainLooper(): Looper = main
    }
}

class Handler(private val looper: Looper) {
    /** As Android: later, in the order of posting. */
    fun post(work: Runnable): Boolean = looper.posted.add(work)
}
