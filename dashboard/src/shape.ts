// Checked reading of JSON as Cap'n Proto's codec writes it: 64-bit integers and non-finite floats
// are strings, enums are their names, and pointers (text, list, struct) that were never set are
// left out. A value of the wrong kind is an error that names its place; a key that we do not know
// is a newer peer's and is passed over.

export interface Shape<T> {
  readonly kind: "leaf" | "list" | "struct";
  /** Of a struct: its fields; of a list: its item under the name "item". */
  readonly parts: Readonly<Record<string, Shape<unknown>>>;
  read(value: unknown, place: string): T;
}

export type Read<S> = S extends Shape<infer T> ? T : never;

export class ShapeError extends Error {
  override name = "ShapeError";
}

function wrong(place: string, wanted: string, value: unknown): ShapeError {
  const got = value === undefined ? "nothing" : (JSON.stringify(value) ?? typeof value);
  return new ShapeError(`${place}: wanted ${wanted}, got ${got.slice(0, 60)}`);
}

function leaf<T>(read: (value: unknown, place: string) => T): Shape<T> {
  return { kind: "leaf", parts: {}, read };
}

export const text: Shape<string> = leaf((value, place) => {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  throw wrong(place, "text", value);
});

const named = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

export const number: Shape<number> = leaf((value, place) => {
  if (typeof value === "number") return value;
  if (typeof value === "string") {
    const known = named.get(value);
    if (known !== undefined) return known;
    if (/^-?\d+$/.test(value)) return Number(value);
  }
  throw wrong(place, "a number", value);
});

export const flag: Shape<boolean> = leaf((value, place) => {
  if (typeof value === "boolean") return value;
  throw wrong(place, "true or false", value);
});

/** One of `names`; a newer peer's enumerant comes as its number and stays readable as text. */
export function oneOf<const Name extends string>(
  names: readonly Name[],
): Shape<Name | `#${number}`> {
  return leaf<Name | `#${number}`>((value, place) => {
    const found = names.find((name) => name === value);
    if (found !== undefined) return found;
    if (typeof value === "number") return `#${value}`;
    throw wrong(place, `one of ${names.join(", ")}`, value);
  });
}

export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  return {
    kind: "list",
    parts: { item },
    read(value, place) {
      if (value === undefined) return [];
      if (!Array.isArray(value)) throw wrong(place, "a list", value);
      return value.map((one, index) => item.read(one, `${place}[${index}]`));
    },
  };
}

type Fields = Readonly<Record<string, Shape<unknown>>>;
type StructOf<F extends Fields> = { readonly [K in keyof F]: Read<F[K]> };

export function struct<F extends Fields>(fields: F): Shape<StructOf<F>> {
  return {
    kind: "struct",
    parts: fields,
    read(value, place) {
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        throw wrong(place, "an object", value);
      }
      const given = value as Record<string, unknown>;
      const pairs = Object.entries(fields).map(([name, shape]) => [
        name,
        shape.read(given[name], `${place}.${name}`),
      ]);
      return Object.fromEntries(pairs) as StructOf<F>;
    },
  };
}

/** A struct that may never have been set. */
export function maybe<T>(shape: Shape<T>): Shape<T | null> {
  return {
    ...shape,
    read: (value, place) =>
      value === undefined || value === null ? null : shape.read(value, place),
  };
}
