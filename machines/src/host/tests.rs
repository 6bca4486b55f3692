//! The host's tables, cell by cell, and the rules that one cell cannot show.

mod bench;
mod cells;
mod rules;
mod switches;
mod table;
