import BowlineFFI
import BowlineFFIC

/// The version of the native library does not match these bindings.
public struct LibraryMismatch: Error, Equatable, CustomStringConvertible {
    /// The fingerprint of the library.
    public let found: String
    /// The fingerprint these bindings expect.
    public let expected: String

    /// Text for people.
    public var description: String {
        "the native library is `\(found)`, these bindings are for `\(expected)`: ship both from one release"
    }
}

/// The loaded native library.
enum Library {
    private static let found = id()

    /// Before anything else is called. The generated code has checks of its own, but they end the process.
    static func check() throws {
        try check(found: found)
    }

    static func check(found: String) throws {
        guard found == expectedAbiId else {
            throw LibraryMismatch(found: found, expected: expectedAbiId)
        }
    }

    /// `abiId()` without the generated code, whose every call begins with its own checks.
    private static func id() -> String {
        var status = RustCallStatus()
        let text = uniffi_bowline_ffi_fn_func_abi_id(&status)
        defer { ffi_bowline_ffi_rustbuffer_free(text, &status) }
        let bytes = UnsafeBufferPointer(start: text.data, count: status.code == 0 ? Int(text.len) : 0)
        return String(decoding: bytes, as: UTF8.self)
    }
}
