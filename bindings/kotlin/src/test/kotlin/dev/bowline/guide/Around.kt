package dev.bowline.guide

import dev.bowline.Bowline
import dev.bowline.Intent
import dev.bowline.Row
import dev.bowline.voxel.Project
import java.io.File
import kotlinx.serialization.Serializable

/** What the fragments of docs/kotlin.md are in the middle of. They are compiled with the tests, and not run. */
class Around(
    val bowline: Bowline,
    val serverId: String,
    val params: String,
    val rename: Intent,
    val row: Row<Project>,
    val bytes: ByteArray,
    val file: File,
) {
    fun show(vararg shown: Any?) = shown.size

    fun reload() = Unit
}

/** An item of a log. */
@Serializable
data class Note(val text: String)
