/** What a user has chosen, kept by the browser for each proxy's origin; without a place to keep it, for as long as the page is open. */

const kept = new Map<string, string>();

export function setting<Choice extends string>(name: string, choices: readonly Choice[], usual: Choice): Choice {
  let value = kept.get(name);
  try {
    value ??= localStorage.getItem(`podzol-${name}`) ?? undefined;
  } catch {
    // A browser may forbid it.
  }
  return choices.find((choice) => choice === value) ?? usual;
}

export function set(name: string, value: string): void {
  kept.set(name, value);
  try {
    localStorage.setItem(`podzol-${name}`, value);
  } catch {
    // A browser may forbid it.
  }
}
