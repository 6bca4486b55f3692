//! The program against a real daemon, as its user sees it.
