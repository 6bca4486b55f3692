//! Files and clocks that do not say what they said before.
