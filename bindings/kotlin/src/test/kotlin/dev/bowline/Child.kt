package dev.bowline

import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.system.exitProcess

/** Another process, for what concerns a whole process. */
object Child {
    /** Runs a part of [main] to its end; its exit code and what it printed. */
    fun run(part: String, library: String, vararg more: String): Pair<Int, String> =
        program("dev.bowline.Child", library, part, *more)

    /** Runs a program to its end. */
    fun program(main: String, library: String, vararg arguments: String): Pair<Int, String> {
        val process = start(main, library, *arguments)
        val output = process.inputStream.bufferedReader().readText()
        check(process.waitFor(60, TimeUnit.SECONDS)) { process.destroyForcibly(); "$main does not end: $output" }
        return process.exitValue() to output
    }

    /** Starts a program; its errors are among its output. */
    fun start(main: String, library: String, vararg arguments: String): Process {
        val builder = ProcessBuilder(
            File(System.getProperty("java.home"), "bin/java").path,
            "-Xmx64m", "-Djna.library.path=$library", "-cp", System.getProperty("java.class.path"),
            main, *arguments,
        ).redirectErrorStream(true)
        // Where a build tool has put its own folders, a library that is not in [library] would be found all the same.
        builder.environment().keys.removeAll(setOf("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"))
        return builder.start()
    }

    @JvmStatic
    fun main(arguments: Array<String>) {
        when (arguments[0]) {
            // Returns, or exits, in the middle of a callback of a subscription that nobody ends.
            "return", "exit" -> {
                Library.load()
                val called = CountDownLatch(1)
                PreviewData(1u, 0u).subscribeHosts(hostsListener { called.countDown(); Thread.sleep(600_000) })
                check(called.await(30, TimeUnit.SECONDS))
                println("called")
                if (arguments[0] == "exit") exitProcess(3)
            }
            "open" -> try {
                Bowline(config(arguments[1]), platform = PlatformObserver.none).close()
                println("opened")
            } catch (problem: LibraryException) {
                println("refused: ${problem.message}")
            }
        }
    }
}
