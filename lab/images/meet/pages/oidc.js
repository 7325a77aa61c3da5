// Logs in through the OpenID provider: with a code and PKCE, or with the implicit flow, as config.json says.

const ALGORITHMS = {
  PS256: { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 },
  PS384: { name: "RSA-PSS", hash: "SHA-384", saltLength: 48 },
  PS512: { name: "RSA-PSS", hash: "SHA-512", saltLength: 64 },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  RS384: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-384" },
  RS512: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-512" },
};
const text = new TextEncoder();

const encoded = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const decoded = (value) => Uint8Array.from(atob(value.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
const part = (value) => JSON.parse(new TextDecoder().decode(decoded(value)));
const random = () => encoded(crypto.getRandomValues(new Uint8Array(32)));

async function json(url, options) {
  const answer = await fetch(url, options);
  if (!answer.ok) throw new Error(`${new URL(url, location).pathname} answers ${answer.status}`);
  return answer.json();
}

export class Login {
  // base is where the page is at home, such as /meet/; scope is what it asks for.
  constructor(config, base, scope) {
    this.issuer = config.oidc.iss || location.origin;
    this.client = config.oidc.clientID || `kpop-${location.origin}${base}`;
    this.implicit = config.oidc.useImplicitFlow === true;
    this.scope = config.oidc.scope || scope;
    this.home = location.origin + base;
    this.store = `kopano-lab ${base}`;
  }

  // What the provider says about itself.
  async provider() {
    if (!this.found) {
      this.found = await json(`${this.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
      if (this.found.issuer !== this.issuer) throw new Error("the provider calls itself something else");
    }
    return this.found;
  }

  get responseType() {
    return this.implicit ? "id_token token" : "code";
  }

  // Who is logged in: after the way back from the provider, or from before a reload. Nobody: null.
  async session() {
    const back = new URLSearchParams(location.hash.slice(1).includes("state=") ? location.hash.slice(1) : location.search);
    const begun = JSON.parse(sessionStorage.getItem(`${this.store} begun`) || "null");
    if (back.has("state") && begun) {
      sessionStorage.removeItem(`${this.store} begun`);
      history.replaceState(null, "", begun.where);
      if (back.get("state") !== begun.state) throw new Error("this answer belongs to another log-in: please try again");
      if (back.has("error")) throw new Error(back.get("error_description") || back.get("error"));
      await this.finish(back, begun);
    }
    const kept = JSON.parse(sessionStorage.getItem(this.store) || "null");
    return kept && kept.until > Date.now() ? kept : null;
  }

  // Go to the provider; more are parameters beside the usual ones.
  async begin(more = {}) {
    const provider = await this.provider();
    const begun = { state: random(), nonce: random(), verifier: random(), where: location.pathname };
    const asked = new URLSearchParams({
      client_id: this.client,
      redirect_uri: this.home,
      response_type: this.responseType,
      scope: this.scope,
      state: begun.state,
      nonce: begun.nonce,
      ...more,
    });
    if (!this.implicit) {
      asked.set("code_challenge", encoded(await crypto.subtle.digest("SHA-256", text.encode(begun.verifier))));
      asked.set("code_challenge_method", "S256");
    }
    sessionStorage.setItem(`${this.store} begun`, JSON.stringify(begun));
    location.assign(`${provider.authorization_endpoint}?${asked}`);
  }

  async finish(back, begun) {
    const provider = await this.provider();
    let tokens = Object.fromEntries(back);
    if (!this.implicit) {
      tokens = await json(provider.token_endpoint, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "authorization_code",
          code: back.get("code"),
          redirect_uri: this.home,
          client_id: this.client,
          code_verifier: begun.verifier,
        }),
      });
    }
    const claims = await this.verified(tokens.id_token, tokens.access_token, begun.nonce);
    sessionStorage.setItem(
      this.store,
      JSON.stringify({
        token: tokens.access_token,
        idToken: tokens.id_token,
        until: Date.now() + 1000 * Number(tokens.expires_in),
        name: claims.name || claims.sub,
      }),
    );
  }

  // The claims of an ID token, if the provider has made it for this page and this log-in.
  async verified(token, accessToken, nonce) {
    const [header, payload, signature] = token.split(".");
    const { alg, kid } = part(header);
    const algorithm = ALGORITHMS[alg];
    const provider = await this.provider();
    const listed = (await json(provider.jwks_uri)).keys.find((key) => key.kid === kid && key.kty === "RSA");
    if (!algorithm || !listed) throw new Error("the log-in is signed with a key that the provider does not have");
    const key = await crypto.subtle.importKey("jwk", { kty: "RSA", n: listed.n, e: listed.e }, algorithm, false, ["verify"]);
    if (!(await crypto.subtle.verify(algorithm, key, decoded(signature), text.encode(`${header}.${payload}`)))) {
      throw new Error("the signature of the log-in is wrong");
    }
    const claims = part(payload);
    const digest = new Uint8Array(await crypto.subtle.digest(algorithm.hash, text.encode(accessToken)));
    const right =
      claims.iss === this.issuer &&
      [claims.aud].flat().includes(this.client) &&
      claims.exp * 1000 > Date.now() &&
      claims.nonce === nonce &&
      claims.at_hash === encoded(digest.slice(0, digest.length / 2));
    if (!right) throw new Error("the log-in is not for this page");
    return claims;
  }

  async signOut(session) {
    sessionStorage.removeItem(this.store);
    const provider = await this.provider();
    const asked = new URLSearchParams({ id_token_hint: session.idToken, post_logout_redirect_uri: this.home });
    location.assign(`${provider.end_session_endpoint}?${asked}`);
  }
}

// The head of a page: name, log-in and sign-out. Gives the session, or null.
export async function head(login) {
  const show = (id, shown) => (document.getElementById(id).hidden = !shown);
  document.getElementById("log-in").onclick = () => login.begin().catch(report);
  const session = await login.session().catch(report);
  show("log-in", !session);
  show("sign-out", session);
  if (session) {
    document.getElementById("name").textContent = session.name;
    document.getElementById("sign-out").onclick = () => login.signOut(session).catch(report);
  }
  return session || null;
}

export function report(problem) {
  document.getElementById("problem").textContent = problem.message;
  return null;
}

export function item(list, ...content) {
  const entry = document.createElement("li");
  entry.append(...content);
  document.getElementById(list).append(entry);
}

export { json };
