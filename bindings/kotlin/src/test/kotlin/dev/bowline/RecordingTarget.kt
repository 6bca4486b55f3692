package dev.bowline

/** A target that hands on what it is told. */
class RecordingTarget(private val tell: (PlatformEvent) -> Unit) : PlatformTarget {
    override fun tell(event: PlatformEvent) = tell.invoke(event)

    override suspend fun pause() = Unit

    override suspend fun resume() = Unit
}
