@file:Suppress("PackageDirectoryMismatch")

package android.os

class Looper private constructor() {
    companion object {
        private val main = Looper()

        @JvmStatic
        fun getMainLooper(): Looper = main
    }
}

@Suppress("UNUSED_PARAMETER")
class Handler(looper: Looper) {
    fun post(work: Runnable): Boolean {
        work.run()
        return true
    }
}
