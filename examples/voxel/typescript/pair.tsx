/** Pairing with a computer, once: the user looks at whose link it is before it is used. */
import { useState } from "react";
import { useBowline, useHosts } from "@bowline/react";
import { asBowlineError, type OfferInfo } from "@bowline/runtime/bridge";
import { NameForm } from "./parts.tsx";

export function Pair() {
  const client = useBowline();
  const pairings = useHosts((all) => all.pairings);
  const [offer, setOffer] = useState<{ link: string; info: OfferInfo }>();
  const [problem, setProblem] = useState<string>();
  const attempt = (work: () => Promise<unknown>) => {
    setProblem(undefined);
    work().catch((error: unknown) => setProblem(asBowlineError(error).message));
  };
  const inspect = (link: string) => attempt(async () => setOffer({ link, info: await client.inspectOffer(link) }));
  // A link that names a known computer under another key is forged, or that computer has lost its keys: nobody is contacted.
  const isForged = offer?.info.host.kind === "otherKey";
  return (
    <section aria-label="Pairing">
      <NameForm label="Pairing link" onName={inspect} />
      {offer && (
        <p>
          Pair with {offer.info.name} at {offer.info.addresses.map(({ address }) => address).join(", ")}?{" "}
          <button disabled={isForged || pairings.length > 0} onClick={() => attempt(() => client.pair(offer.link))}>
            pair
          </button>
        </p>
      )}
      {isForged && <p role="alert">This link names a computer that you know, but with another key. Ask its owner before you trust it.</p>}
      {pairings.map(({ code }) => code && <p key={code}>Compare this code on the computer: {code}</p>)}
      {problem && <p role="alert">{problem}</p>}
    </section>
  );
}
