// Numbers as people read them. Absent or meaningless values are a dash, never NaN.
export const none = "–";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function fixed(value: number, digits: number): string {
  return value.toFixed(digits);
}

/** 950 · 12,345 · 1.23 M · 4.56 G */
export function count(value: number): string {
  if (!Number.isFinite(value)) return none;
  const size = Math.abs(value);
  if (size >= 1e9) return `${fixed(value / 1e9, 2)} G`;
  if (size >= 1e6) return `${fixed(value / 1e6, 2)} M`;
  return grouped.format(value);
}

/** Tokens a second: one digit where it matters. */
export function rate(value: number): string {
  if (!Number.isFinite(value)) return none;
  return value > 0 && value < 10 ? fixed(value, 1) : count(value);
}

export function share(value: number): string {
  if (!Number.isFinite(value)) return none;
  const percent = value * 100;
  // 99.97 % must not read as 100 %: a promise that was missed once was missed.
  if (percent < 100 && percent >= 99.95) return "99.9 %";
  if (percent > 0 && percent < 0.05) return "< 0.1 %";
  return percent === 0 || percent === 100 ? `${percent} %` : `${fixed(percent, 1)} %`;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

export function bytes(value: number): string {
  if (!Number.isFinite(value) || value < 0) return none;
  let scaled = value;
  let unit = 0;
  // Rounded to whole units, 1023.6 KiB would read "1024 KiB".
  while (scaled >= 1023.5 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${fixed(scaled, unit > 0 && scaled < 9.95 ? 1 : 0)} ${units[unit]}`;
}

/** A latency; zero means that there was none. */
export function latency(ms: number): string {
  if (!Number.isFinite(ms) || ms <= 0) return none;
  if (ms < 0.005) return "< 0.01 ms";
  if (ms < 9.995) return `${fixed(ms, 2)} ms`;
  if (ms < 99.95) return `${fixed(ms, 1)} ms`;
  if (ms < 9_999.5) return `${grouped.format(ms)} ms`;
  return `${fixed(ms / 1000, 1)} s`;
}

/** 4 s · 3 min 20 s · 5 h 2 min · 3 d 4 h */
export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return none;
  const seconds = Math.floor(ms / 1000);
  const [minutes, hours, days] = [60, 3600, 86_400].map((of) => Math.floor(seconds / of)) as [
    number,
    number,
    number,
  ];
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

export function digest(hex: string): string {
  return hex === "" ? none : hex.slice(0, 12);
}

export function clock(atMs: number): string {
  const at = new Date(atMs);
  return [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

export function plural(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}
