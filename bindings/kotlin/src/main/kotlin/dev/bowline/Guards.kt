package dev.bowline

/** The generated code lets only exceptions through to the library: an `Error` would be taken for success. */
internal inline fun guarded(call: () -> Unit) {
    try {
        call()
    } catch (problem: CallbackException) {
        throw problem
    } catch (problem: Throwable) {
        throw CallbackException.Failed(problem.toString())
    }
}

/** Wraps an app's key store: a failed read must never look like an absent value (INV-9). */
internal fun guarded(store: KeyStore): KeyStore = object : KeyStore {
    override fun read(name: String): ByteArray? = kept { store.read(name) }

    override fun write(name: String, value: ByteArray) = kept { store.write(name, value) }

    private inline fun <T> kept(call: () -> T): T = try {
        call()
    } catch (problem: KeyStoreException) {
        throw problem
    } catch (problem: Throwable) {
        throw KeyStoreException.Failed(problem.toString())
    }
}
