//! The host's transition tables, cell by cell, and rules across cells.

mod bench;
mod cells;
mod errors;
mod measuring;
mod platform;
mod recovery;
mod rescue;
mod selecting;
mod switches;
mod table;
