// The filter of the list for live rows. The server's Selection applies the same rules to pages. A
// test compares the two.

/** The filter in a query string. Absent and empty parameters filter nothing. */
export function readFilter(search) {
  const query = new URLSearchParams(search);
  const number = (name) => (query.get(name)?.trim() ? Number(query.get(name)) : null);
  return {
    min_score: number("min_score"),
    max_score: number("max_score"),
    product: query.get("product")?.trim() || null,
    transaction_id: number("transaction_id"),
  };
}

export function matches(row, filter) {
  return (
    (filter.min_score === null || row.score >= filter.min_score) &&
    (filter.max_score === null || row.score <= filter.max_score) &&
    (filter.product === null || row.product === filter.product) &&
    (filter.transaction_id === null || row.transaction_id === filter.transaction_id)
  );
}

export function isEmpty(filter) {
  return Object.values(filter).every((value) => value === null);
}

/** The filter as a query string for the API. */
export function toQuery(filter, more = {}) {
  const query = new URLSearchParams(more);
  for (const [name, value] of Object.entries(filter)) {
    if (value !== null) query.set(name, value);
  }
  return query.toString();
}
