//! `describe`: what the program offers to apps, without a running daemon (LD-7).

use bowline_program::{
    Failure, print,
    table::{Cell, table},
};

use crate::{daemon::offered, setup::Services};

/// Prints what the daemon's own methods and these services are.
pub(super) fn describe(services: Services, json: bool, schema: bool) -> Result<(), Failure> {
    let router = offered(services).map_err(Failure::failed)?;
    if json {
        return print::json(&router.document()).map_err(Failure::failed);
    }
    if schema {
        let text = serde_json::to_string_pretty(&router.schema()).map_err(Failure::failed)?;
        print::out(format_args!("{text}\n"));
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = router
        .lines()
        .into_iter()
        .map(|line| {
            let cells = [line.name, line.kind, line.who, line.params, line.value];
            cells.map(Cell::new).into()
        })
        .collect();
    let head = ["NAME", "KIND", "FOR", "PARAMS", "GIVES"];
    print::out(format_args!("{}", table(&head, &rows, false)));
    Ok(())
}
