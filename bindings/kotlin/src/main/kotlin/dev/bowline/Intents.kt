package dev.bowline

/** The receipt of an intent. Dropping it changes nothing: the intent is sent all the same. */
public class Receipt internal constructor(
    private val native: SentIntent,
) {
    /** The intent's permanent id, with which [Bowline.outcome] finds it again after a restart of the app. */
    public val id: String = native.id()

    /** Waits for the intent's outcome, across disconnects: known as long as this receipt is kept, whatever else ends meanwhile. */
    public suspend fun outcome(): IntentOutcome = native.outcome()
}

/** What an intent is expected to change (LD-3); `params` are those with which the table or log is collected. */
public object Show {
    /** The row has this value, as JSON, whether or not it was there. */
    public fun upsert(table: String, key: String, json: String, params: String = "{}"): Patch =
        Patch(table, params, key, PatchChange.Upsert(json))

    /** The members of this JSON object are replaced in the row's value or added. Without a row nothing is shown. */
    public fun merge(table: String, key: String, json: String, params: String = "{}"): Patch =
        Patch(table, params, key, PatchChange.Merge(json))

    /** An item with this value, as JSON, is added at the end of the log. */
    public fun append(log: String, json: String, params: String = "{}"): Patch = Patch(log, params, "", PatchChange.Append(json))

    /** The row is gone. */
    public fun remove(table: String, key: String, params: String = "{}"): Patch = Patch(table, params, key, PatchChange.Remove)
}
