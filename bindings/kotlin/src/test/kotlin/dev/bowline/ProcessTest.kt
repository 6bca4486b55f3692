package dev.bowline

import java.io.File
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

/** What concerns a whole process: its end, and the library that it finds. */
class ProcessTest {
    private val native = System.getProperty("jna.library.path")

    @Test
    fun `a process that returns while subscribed ends`() {
        assertEquals(0 to "called\n", Child.run("return", native))
    }

    @Test
    fun `a process that exits in the middle of a callback ends as it says`() {
        assertEquals(3 to "called\n", Child.run("exit", native))
    }

    @Test
    fun `an old library under new bindings is refused, and says so`() = Folder().use { folder ->
        val library = System.mapLibraryName("bowline_ffi")
        val bytes = File(native, library).readBytes()
        // Another release's: it differs in what it says of itself.
        assertTrue(replaceAll(bytes, "bowline-ffi 0.", "bowline-ffi 9.") > 0, "the library does not say what it is")
        File(folder.file, library).writeBytes(bytes)
        val (code, said) = Child.run("open", folder.path, folder.path)
        assertEquals(0, code, said)
        assertTrue(said.startsWith("refused: the native library is `bowline-ffi 9."), said)
    }

    @Test
    fun `a library that lacks what these bindings call is refused, and says so`() = Folder().use { folder ->
        val library = System.mapLibraryName("bowline_ffi")
        val bytes = File(native, library).readBytes()
        assertTrue(replaceAll(bytes, "fn_method_previewdata_grow", "fn_method_previewdata_GROW") > 0, "it has no such function")
        File(folder.file, library).writeBytes(bytes)
        val (code, said) = Child.run("open", folder.path, folder.path)
        assertEquals(0, code, said)
        assertTrue(said.startsWith("refused: the native library bowline_ffi"), said)
    }

    @Test
    fun `a missing library is an error that says so`() = Folder().use { folder ->
        val (code, said) = Child.run("open", folder.path, folder.path)
        assertEquals(0, code, said)
        assertTrue(said.startsWith("refused: the native library bowline_ffi"), said)
    }

    @Test
    fun `the guide's program does what the page says`() = World().use { world ->
        Folder().use { folder ->
            val (code, said) = Child.program("GuideKt", native, folder.path, world.offer(0, 2))
            assertEquals(0, code, said)
            assertTrue(said.contains(": ONLINE"), said)
            assertTrue(said.contains("OUTPUT it works"), said)
        }
    }

    private fun replaceAll(bytes: ByteArray, from: String, to: String): Int {
        val (old, new) = from.toByteArray() to to.toByteArray()
        var found = 0
        for (at in 0..bytes.size - old.size) {
            if (old.indices.all { bytes[at + it] == old[it] }) {
                new.copyInto(bytes, at)
                found += 1
            }
        }
        return found
    }
}
