// What the user chose, kept in a cookie from picture to picture.

const COOKIE = "viewer";
const YEAR_S = 365 * 24 * 3600;
const DEFAULTS = {
  topk: 15, alpha: 115, single: false, box: true, class: true, score: true, mask: true,
};

/** The settings of the cookie; what is missing or of another type has its default. */
export function loadSettings() {
  const pair = document.cookie.split("; ").find((text) => text.startsWith(`${COOKIE}=`));
  let stored = {};
  try {
    stored = JSON.parse(decodeURIComponent(pair.slice(COOKIE.length + 1))) ?? {};
  } catch {
    // No cookie yet, or one that another page wrote.
  }
  const settings = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) {
    if (typeof stored[key] === typeof DEFAULTS[key]) settings[key] = stored[key];
  }
  return settings;
}

/** Writes the cookie. */
export function saveSettings(settings) {
  const text = encodeURIComponent(JSON.stringify(settings));
  document.cookie = `${COOKIE}=${text}; max-age=${YEAR_S}; samesite=lax`;
}
