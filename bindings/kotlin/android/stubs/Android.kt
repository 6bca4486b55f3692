// As much of Android as `AndroidPlatform` touches, so that it is compiled and tested where there is no Android SDK. Not part of
// the Android library.

@file:Suppress("PackageDirectoryMismatch")

package android.content

abstract class Context {
    abstract val applicationContext: Context

    abstract fun <T> getSystemService(type: Class<T>): T
}
