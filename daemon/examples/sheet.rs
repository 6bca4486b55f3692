//! A spreadsheet's daemon for tests and measurements of live data under load: two large tables, a
//! long log of edits, changes by the thousand. `voxel.rs` is the example to start from.
//!
//! `cargo run -p bowline-daemon --example sheet` starts it.

use std::{ops::Range, process::ExitCode};

use bowline_daemon::{
    Program,
    ledger::{Log, Reader, Table, Tx},
    service::{Methods, Scope, Service},
};
use bowline_protocol::{Role, RpcReason, error::RpcError, methods::Empty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const CELLS: Table<Cell> = Table::new("sheet.cells"); // by the cell's name
const STYLES: Table<Cell> = Table::new("sheet.styles"); // by the cell's name
const EDITS: Log<Edit> = Log::new("sheet.edits").keeping(200_000, 64 << 20);
const SHEET: &str = "sheet"; // there is one, and so one log
const MOST: u32 = 10_000; // rows and items of one request
const PAGE: usize = 500;

/// A cell of a table.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Cell {
    text: String,
    /// How often it was set.
    #[serde(default)]
    times: u64,
}

/// What was done, once for each time that it was.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Edit {
    tag: String,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Which {
    Cells,
    Styles,
}

impl Which {
    const fn table(self) -> &'static Table<Cell> {
        match self {
            Self::Cells => &CELLS,
            Self::Styles => &STYLES,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Fill {
    table: Which,
    from: u32,
    rows: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Append {
    items: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Set {
    table: Which,
    cell: String,
    text: String,
    tag: String,
}

#[derive(Deserialize, JsonSchema)]
struct ListRows {
    table: Which,
    #[serde(default)]
    after: String,
}

#[derive(Serialize, JsonSchema)]
struct Rows {
    rows: Vec<(String, Cell)>,
}

#[derive(Deserialize, JsonSchema)]
struct ListEdits {
    from: u64,
    to: u64,
}

/// Part of a table: cells whose names begin so.
#[derive(Deserialize, JsonSchema)]
struct Part {
    #[serde(default)]
    prefix: String,
}

#[derive(Deserialize, JsonSchema)]
struct Carry {
    #[serde(default)]
    text: String,
    #[serde(default)]
    size: u32,
}

#[derive(Serialize, JsonSchema)]
struct Carried {
    bytes: usize,
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Edits {
    edits: Vec<(u64, Edit)>,
    kept: Range<u64>,
}

struct Sheet;

impl Service for Sheet {
    fn methods(methods: &mut Methods<Self>) {
        methods.write("sheet.fill", Self::fill);
        methods.write("sheet.append", Self::append);
        methods.intent("sheet.set", Self::set).role(Role::Operator);
        methods.read("sheet.list_rows", Self::list_rows);
        methods.read("sheet.list_edits", Self::list_edits);
        methods.now("sheet.carry", Self::carry);
        methods.table(&CELLS, |_: Empty| Ok(Scope::all()));
        methods.table(&STYLES, |part: Part| Scope::prefix(&part.prefix));
        methods.log(&EDITS, |_: Empty| Scope::row(SHEET));
    }
}

impl Sheet {
    /// Sets rows in one transaction, each to a text of its own.
    fn fill(&self, tx: &mut Tx<'_>, fill: Fill) -> Result<Empty, RpcError> {
        few(fill.rows)?;
        for n in fill.from..fill.from.saturating_add(fill.rows) {
            set(
                tx,
                fill.table.table(),
                &format!("c{n:06}"),
                format!("text {n}"),
            )?;
        }
        Ok(Empty {})
    }

    /// Adds items in one transaction.
    fn append(&self, tx: &mut Tx<'_>, append: Append) -> Result<Empty, RpcError> {
        few(append.items)?;
        for n in 0..append.items {
            let tag = format!("item {n}");
            EDITS.append(tx, SHEET, &Edit { tag })?;
        }
        Ok(Empty {})
    }

    /// Sets one cell, and says so in the log. Refuses a text that begins with `no`.
    fn set(&self, tx: &mut Tx<'_>, new: Set) -> Result<Empty, RpcError> {
        if new.text.starts_with("no") {
            return Err(RpcError::new(
                RpcReason::Forbidden,
                "a cell does not say no",
            ));
        }
        set(tx, new.table.table(), &new.cell, new.text)?;
        EDITS.append(tx, SHEET, &Edit { tag: new.tag })?;
        Ok(Empty {})
    }

    /// Takes a text, and answers with one of that size.
    fn carry(&self, carry: Carry) -> Result<Carried, RpcError> {
        few(carry.size / 1_024)?;
        Ok(Carried {
            bytes: carry.text.len(),
            text: "x".repeat(carry.size as usize),
        })
    }

    fn list_rows(&self, reader: &Reader<'_>, page: ListRows) -> Result<Rows, RpcError> {
        let rows = page.table.table().page(reader, &page.after, PAGE)?;
        Ok(Rows { rows })
    }

    fn list_edits(&self, reader: &Reader<'_>, page: ListEdits) -> Result<Edits, RpcError> {
        Ok(Edits {
            edits: EDITS.range(reader, SHEET, page.from..page.to, PAGE)?,
            kept: EDITS.bounds(reader, SHEET)?,
        })
    }
}

fn set(tx: &mut Tx<'_>, table: &Table<Cell>, key: &str, text: String) -> Result<(), RpcError> {
    let before = table.get(tx, key)?.map_or(0, |cell| cell.times);
    let times = before.saturating_add(1);
    table.put(tx, key, &Cell { text, times })
}

fn few(asked: u32) -> Result<(), RpcError> {
    if asked <= MOST {
        return Ok(());
    }
    let text = format!("at most {MOST} at once; send more requests");
    Err(RpcError::invalid_params(text))
}

fn main() -> ExitCode {
    let program = Program::new("sheet", env!("CARGO_PKG_VERSION"));
    bowline_daemon::run(program.about("Keeps one large sheet").service(Sheet))
}
