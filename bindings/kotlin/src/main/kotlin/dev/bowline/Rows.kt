package dev.bowline

/**
 * A persistent list: rows are in pages, and a changed list shares all unchanged pages. Appending or
 * replacing a row copies one page and the list of pages, however long the history is (BX-6).
 */
internal class Rows<T> private constructor(
    /** All pages except the last are full; none is empty. */
    private val pages: Array<Array<Any?>>,
    override val size: Int,
) : AbstractList<T>(), RandomAccess {
    override fun get(index: Int): T {
        if (index !in 0 until size) throw IndexOutOfBoundsException("row $index of $size")
        @Suppress("UNCHECKED_CAST")
        return pages[index ushr BITS][index and MASK] as T
    }

    /** The list with one row replaced. */
    fun replaced(index: Int, row: T): Rows<T> {
        if (index !in 0 until size) throw IndexOutOfBoundsException("row $index of $size")
        val next = pages.copyOf()
        next[index ushr BITS] = pages[index ushr BITS].copyOf().also { it[index and MASK] = row }
        return Rows(next, size)
    }

    /** The list with rows inserted before the index, or at the end if it is the size. */
    fun inserted(index: Int, rows: List<T>): Rows<T> {
        if (index !in 0..size) throw IndexOutOfBoundsException("row $index of $size")
        return from(index) { tail -> rows + tail }
    }

    /** The list without `count` rows from the index on. */
    fun removed(index: Int, count: Int): Rows<T> {
        if (index < 0 || count < 0 || index > size - count) throw IndexOutOfBoundsException("$count rows from $index of $size")
        return from(index) { tail -> tail.subList(count, tail.size) }
    }

    /** Shares the pages before the index and rebuilds those from it on. */
    private fun from(index: Int, change: (List<T>) -> List<T>): Rows<T> {
        val whole = index ushr BITS
        // Rows of the page that is cut stand before what changes.
        val head = subList(whole shl BITS, index)
        val tail = head + change(subList(index, size))
        val count = (tail.size + MASK) ushr BITS
        val next = Array(whole + count) { at ->
            if (at < whole) {
                pages[at]
            } else {
                val begin = (at - whole) shl BITS
                Array<Any?>(minOf(PAGE, tail.size - begin)) { tail[begin + it] }
            }
        }
        return Rows(next, (whole shl BITS) + tail.size)
    }

    companion object {
        private const val BITS = 6
        private const val PAGE = 1 shl BITS
        private const val MASK = PAGE - 1

        private val none = Rows<Nothing>(emptyArray(), 0)

        /** The empty list. */
        @Suppress("UNCHECKED_CAST")
        fun <T> none(): Rows<T> = none as Rows<T>

        /** The rows of any list. */
        fun <T> of(rows: List<T>): Rows<T> = rows as? Rows<T> ?: none<T>().inserted(0, rows)
    }
}
