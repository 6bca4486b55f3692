import BowlineFFI
import BowlineFFIC

/// The native library cannot be used with these bindings: it is of another version.
public struct LibraryMismatch: Error, Equatable, CustomStringConvertible {
    /// What the library says it is.
    public let found: String
    /// What these bindings were made for.
    public let expected: String

    /// For people.
    public var description: String {
        "the native library is `\(found)`, these bindings are for `\(expected)`: ship both from one release"
    }
}

/// The native library that was found.
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
